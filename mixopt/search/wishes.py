"""What others may ask a running search for, through its inbox."""

CANCEL = "cancel"  # {"trial": the number of the trial to end, or None to stop the search}
