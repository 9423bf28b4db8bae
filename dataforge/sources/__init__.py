"""What the columns of a corpus mean: one file a shape, and its name is what a recipe writes after `use:`."""
