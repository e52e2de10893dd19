# Sourced. Lets every client trust what the system trusts, unless its owner decided otherwise.
system_certificates=/etc/ssl/certs/ca-certificates.crt
if [ -s "$system_certificates" ]; then
    export SSL_CERT_FILE="${SSL_CERT_FILE:-$system_certificates}"
    export NODE_EXTRA_CA_CERTS="${NODE_EXTRA_CA_CERTS:-$system_certificates}"
fi
