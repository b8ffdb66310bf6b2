"""SOAP 1.2 with WS-Addressing and MTOM (ITI TF-2 Appendix V), and the way of one request."""
