"""The pages that people open in a browser: the console, and Swagger's page of the API."""
