// A client with tokens bound to its key, by oauth4webapi: `node dpop_client.mjs MODULE ISSUER CLIENT BACK RESOURCE`.
// It prints where its person signs in, reads where the person was sent back to, and prints what it was answered.
import { createInterface } from 'node:readline/promises';

const [modulePath, issuerUrl, clientId, back, resource] = process.argv.slice(2);
const oauth = await import(modulePath);
// On this machine alone.
const plain = { [oauth.allowInsecureRequests]: true };

const issuer = new URL(issuerUrl);
const discovery = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...plain });
const server = await oauth.processDiscoveryResponse(issuer, discovery);
const client = { client_id: clientId };
const DPoP = oauth.DPoP(client, await oauth.generateKeyPair('ES256'));

const [verifier, state] = [oauth.generateRandomCodeVerifier(), oauth.generateRandomState()];
const asked = new URL(server.authorization_endpoint);
asked.search = new URLSearchParams({
  client_id: clientId,
  redirect_uri: back,
  response_type: 'code',
  scope: 'RAD-129',
  resource,
  state,
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
  dpop_jkt: await DPoP.calculateThumbprint(),
});
console.log(asked.href);

const lines = createInterface({ input: process.stdin });
const came = oauth.validateAuthResponse(server, client, new URL(await lines.question('')), state);
lines.close();

let nonces = 0;
async function redeemed() {
  const answer = await oauth.authorizationCodeGrantRequest(
    server, client, oauth.None(), came, back, verifier, { DPoP, ...plain });
  return oauth.processAuthorizationCodeResponse(server, client, answer);
}
const token = await redeemed().catch((error) => {
  if (!oauth.isDPoPNonceError(error)) throw error;
  nonces += 1;
  return redeemed();
});

const place = new URL(`${resource}/dicomweb/studies?limit=1`);
async function statusWith(options) {
  try {
    const answer = await oauth.protectedResourceRequest(token.access_token, 'GET', place, undefined, null, options);
    return answer.status;
  } catch (error) {
    return error.status;
  }
}
console.log(JSON.stringify({
  nonces,
  type: token.token_type,
  bound: [await statusWith({ DPoP, ...plain }), await statusWith({ DPoP, ...plain })],
  bearer: await statusWith(plain),
}));
