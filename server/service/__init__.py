"""Services: their base classes, discovery, supervision, and the harness for their tests."""
