"""What was asked: the recipe, its file, the plan that follows from it, and what the plan costs on this machine."""
