"""Supervisors that each own one worker, for anyio programs; terms and semantics are OTP's."""
