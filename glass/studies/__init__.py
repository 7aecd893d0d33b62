"""Many runs: searching settings, final runs over seeds, studies of the number of crops."""
