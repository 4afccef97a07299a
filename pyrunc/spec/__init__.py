"""The one description of config.json: records, parser, tables, schema, reference."""
