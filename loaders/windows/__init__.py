"""Where crops lie: sampling rules."""
