"""Accept and process payments asynchronously from end to end: one taskiq task per payment, on Redis streams."""
