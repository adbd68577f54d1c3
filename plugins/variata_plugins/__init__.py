"""Every built-in part of variata. Each folder is a plugin like anybody else's, named by an entry point."""
