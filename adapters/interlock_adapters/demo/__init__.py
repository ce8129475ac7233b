"""`interlock demo`: a real A2A client drives a real agent, with no key and no network."""
