"""What to try next, and what to recommend: models of loss over mixtures and rungs, and decisions made from them."""
