"""HTTP lives here: parse, call one use case, present."""
