"""Where facts are read. `port` says what a source must offer; a dialect or a kind of server is one class behind it."""
