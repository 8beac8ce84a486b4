"""The operator's commands: put Switchboard under systemd, watch it, find out what is wrong with it."""
