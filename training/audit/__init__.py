"""The audit of a data set: balance, formats, duplicates within and across splits."""
