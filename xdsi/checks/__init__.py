"""What `xdsi doctor` looks at; what a service cannot start with is looked at by `xdsi serve` too."""
