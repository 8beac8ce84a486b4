"""How things are measured: each method starts a server, puts a load on it, and makes a sample of what it saw."""
