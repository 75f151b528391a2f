"""The citizens' pages: server-rendered, without JavaScript, in four languages, over the same acts as `/v1/me`."""
