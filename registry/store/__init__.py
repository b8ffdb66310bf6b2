"""What the registry keeps: registered objects, their uniqueIds, patients, consents, answered submissions."""
