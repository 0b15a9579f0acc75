"""What a search would buy, before anything is paid: trials, time, certainty, and what it cannot tell."""
