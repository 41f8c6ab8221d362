"""One module per command of the command line; a module is loaded when its command is named."""
