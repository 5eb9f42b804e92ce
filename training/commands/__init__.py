"""Commands of training, each declared once; a command imports its libraries when it runs, so that help stays quick."""
