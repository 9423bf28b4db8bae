"""Language models behind OpenAI-compatible endpoints: what is asked, and what comes back."""
