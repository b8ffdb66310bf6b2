/* Begins OHIF on the study of this page: our own front is its only source, every request has the token for this
   study, and the next token is asked for while it stays open. */
"use strict";

const given = JSON.parse(document.getElementById("given").textContent);
let token = given.token;

async function renew() {
  const body = new URLSearchParams({ token: given.form });
  const answer = await fetch(given.renewal, { method: "POST", body, redirect: "error" }).catch(() => undefined);
  if (answer?.ok) token = (await answer.json()).token;
}
setInterval(renew, 4 * 60 * 1000);

const source = {
  namespace: "@ohif/extension-default.dataSourcesModule.dicomweb",
  sourceName: "xdsi",
  configuration: {
    friendlyName: "xdsi",
    name: "xdsi",
    qidoRoot: given.base,
    wadoRoot: given.base,
    wadoUriRoot: given.base,
    qidoSupportsIncludeField: false,
    supportsFuzzyMatching: false,
    supportsWildcard: false,
    supportsReject: false,
    dicomUploadEnabled: false,
    imageRendering: "wadors",
    thumbnailRendering: "wadors",
    enableStudyLazyLoad: true,
    singlepart: "bulkdata",
    bulkDataURI: { enabled: true },
    omitQuotationForMultipartRequest: false,
  },
};

const authorization = {
  id: "xdsi",
  preRegistration: ({ servicesManager }) =>
    servicesManager.services.userAuthenticationService.setServiceImplementation({
      getAuthorizationHeader: () => ({ Authorization: `Bearer ${token}` }),
    }),
};

window.PUBLIC_URL = given.files;
window.config = {
  routerBasename: given.place,
  showStudyList: false,
  showWarningMessageForCrossOrigin: false,
  investigationalUseDialog: { option: "always" },
  extensions: [authorization],
  modes: [],
  customizationService: {},
  maxNumberOfWebWorkers: 2,
  defaultDataSourceName: "xdsi",
  dataSources: [source],
};
window.browserImportFunction = () => Promise.reject(new Error("nothing is loaded from elsewhere"));
