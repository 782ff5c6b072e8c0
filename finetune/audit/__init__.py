"""What may be wrong with a data set, found without a network: looks at files, checks over looks, findings."""
