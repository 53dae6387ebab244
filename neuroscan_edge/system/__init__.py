"""The machine, its files and its clock: what every other part stands on."""
