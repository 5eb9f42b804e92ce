"""What every process does alike: settings, command lines, small files, text that is safe to show."""
