"One table of all that is refused, a file a room: the call, the error, and words of its message."
