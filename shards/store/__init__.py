"""Object stores and web servers, and the local cache of their files."""
