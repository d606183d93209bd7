"One table of everything that is refused, a file a room: the call, the error, and words that its message must have."
