"""Where evidence lies, and what makes a stranger's file harmless."""
