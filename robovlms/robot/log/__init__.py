"""What a run leaves behind: one MCAP file, and the proof that it replays."""
