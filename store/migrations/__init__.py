"""The history of the tables, one file a revision in `versions`; written once, never changed after a release."""
