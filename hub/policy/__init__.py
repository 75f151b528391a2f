"""Policy engines behind `hub.ports.Policy`: the same Rego in process (WASM) here, behind a server where one runs."""
