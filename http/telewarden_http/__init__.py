"""The polling API: knows storage only through the protocols that it declares itself.

Import from the modules (`app.create_app`, `server.serve`, `settings.ApiSettings`, `wire`, `protocols`): so whoever
only needs the wire types does not load the web framework.
"""
