"""A simulated base in a 3-D room, in a process of its own: it takes commands and gives pictures as a real one would."""
