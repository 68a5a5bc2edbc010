"""Ways to reach a robot. A new one is one file and one line here."""
