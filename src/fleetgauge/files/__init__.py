"""Content files read strictly: whatever is wrong with one is told with its line, in the words of who wrote it."""
