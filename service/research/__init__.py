"""Research commands of the CLI, loaded lazily: the one door from service to pipelines."""
