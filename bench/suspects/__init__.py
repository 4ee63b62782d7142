"""How well sudden-stop suspects are found, on simulated companies whose truth is known. No server is needed."""
