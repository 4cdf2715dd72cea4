"""Calls from telephone networks: media streams (Twilio's frames, `/v1/telephony/twilio`) and Asterisk's AudioSocket."""
