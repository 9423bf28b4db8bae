"""What a recipe does with records between reading and rendering: one file is one step."""
