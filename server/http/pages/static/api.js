/** The interactive documentation. */

/* global SwaggerUIBundle */

SwaggerUIBundle({
  url: document.body.dataset.openapi,
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null, // the default asks another host
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
});
