"""Who is calling, proved: node certificates (ITI-19) and user assertions (ITI-40)."""
