"""The daemon: whatever arrives in its folders is uploaded, in order, once."""
