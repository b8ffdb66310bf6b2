// An OpenID provider for tests: `node oidc_provider.mjs MODULE PORT REDIRECT_URI`. Whoever signs in is believed
// under the name that was typed.
const [modulePath, port, redirectUri] = process.argv.slice(2);
const { Provider } = await import(modulePath);
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [{
    client_id: 'xdsi-pages',
    client_secret: 'not a secret at all, %: but escaped',
    redirect_uris: [redirectUri],
    response_types: ['code'],
    grant_types: ['authorization_code'],
  }],
  pkce: { required: () => true },
  cookies: { keys: ['tests'] },
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
