"""A trained model in use: verdicts, calibration, heat maps, handing it on."""
