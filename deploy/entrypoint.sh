#!/bin/sh
# Secrets come as files: for each variable NAME_FILE, NAME becomes what the file holds. Then antiphon, with the arguments.
set -eu
for name in PGPASSWORD ANTIPHON_API_KEYS OPENAI_API_KEY; do
    file=$(printenv "${name}_FILE" || true)
    if [ -n "$file" ]; then
        value=$(cat "$file")
        export "$name=$value"
        unset "${name}_FILE"
    fi
done
exec antiphon "$@"
